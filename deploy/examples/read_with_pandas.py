"""Read an export with pandas: what became of drafts, by workspace.

draft-pipeline export --dir lake
python read_with_pandas.py lake
"""

import sys

import pandas as pd

if __name__ == "__main__":
    outcomes = pd.read_parquet(f"{sys.argv[1]}/draft-outcome")
    last = outcomes.sort_values("sequence").groupby("draft_id").tail(1)
    print(pd.crosstab(last["workspace_id"], last["status"]).to_csv(), end="")
