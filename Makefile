# `make` lists the targets. Nothing is needed on the machine but make and Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
LOG := .venv/setup.log

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test prove browser tools check check-rules dashboards contract bench chaos

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## build .venv from the lock and fetch the local broker (the second call is instant)
	@:

demo: $(STAMP) ## local stack, sample messages through everything, a summary
	@$(BIN)/draft-pipeline demo

# Three processes with a stack each, because stories wait for leases to lapse; then the tests whose promise is a time.
test: $(STAMP) ## every test but the long ones, against a real broker and a real Postgres
ifdef ARGS
	@$(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not alone and not long and not browser and not tools"
	@$(BIN)/python -m pytest -m alone
endif

prove: $(STAMP) ## the long proofs: deaths at every point, chaos, 1,000 races each, the rollout as the runbook has it
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m long $(ARGS)

browser: $(STAMP) ## the pages in a real Chromium (Debian: apt-get install chromium)
	@$(BIN)/python -m pytest -m browser $(ARGS)

tools: $(STAMP) check-rules ## what needs kcat and promtool (Debian: apt-get install kcat prometheus)
	@command -v kcat >/dev/null || { echo "tools: kcat is not on the PATH; on Debian it is the package kcat"; exit 1; }
	@$(BIN)/python -m pytest -m tools $(ARGS)

check: $(STAMP) ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check-rules: ## Prometheus' rules and their tests (needs promtool; on Debian: package prometheus)
	@command -v promtool >/dev/null || { \
	  echo "check-rules: promtool is not on the PATH; on Debian it is in the package prometheus"; exit 1; }
	promtool check rules deploy/prometheus/rules.yml
	cd deploy/prometheus && promtool test rules rules_test.yml rules_days_test.yml

dashboards: $(STAMP) ## make Grafana's dashboards anew from the metric catalogue
	@$(BIN)/python -m app.metrics.dashboards deploy/grafana/dashboards

contract: $(STAMP) ## make deploy/contract and deploy/topics from the events; refuses a change that breaks others
	@$(BIN)/python -m app.contract.files deploy

bench: $(STAMP) ## measure throughput, latency and start-up
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: $(STAMP) ## kill workers at every step and prove that nothing is sent twice or lost
	@$(BIN)/python -m tests.chaos $(ARGS)

# The stamp is the last thing written: an interrupted set-up starts again and keeps what is whole.
$(STAMP): requirements.lock pyproject.toml app/stack/kafka_jars.json
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "setup: Python 3.11 or newer is needed, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)."; \
	  echo "       Name another one: make setup PYTHON=python3.12"; exit 1; }
	@rm -f $(STAMP)
	@echo "setup 1/4: virtual environment in .venv"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { \
	  echo "setup: '$(PYTHON)' cannot make a virtual environment (on Debian: install python3-venv)."; exit 1; }
	@echo "setup 2/4: $$(grep -c '^[a-z]' requirements.lock) locked packages, about a minute"
	@rm -f .venv/.failed; { $(BIN)/python -m pip --disable-pip-version-check --no-input install --progress-bar off \
	    --require-hashes --only-binary :all: -r requirements.lock 2>&1 || touch .venv/.failed; } | { n=0; \
	  while IFS= read -r line; do echo "$$line"; case "$$line" in \
	    Collecting*) n=$$((n+1)); [ $$((n % 20)) -ne 0 ] || echo "           $$n packages" >&2;; \
	    Installing*) echo "           installing" >&2;; esac; done; } >$(LOG); \
	  if [ -e .venv/.failed ]; then tail -20 $(LOG); echo "setup: pip failed; all of its output is in $(LOG)"; exit 1; fi
	@echo "setup 3/4: this project"
	@$(BIN)/python -m pip --disable-pip-version-check -q install --no-deps --no-build-isolation -e .
	@echo "setup 4/4: local Kafka broker (45 MB and a training run, once)"
	@$(BIN)/python -m app.stack.kafka_jars
	@$(BIN)/python -m app.stack.kafka_train
	@touch $(STAMP)
	@echo "setup: done. Next: make demo, make test"
