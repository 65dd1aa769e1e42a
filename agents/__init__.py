"""Judgement: one module per topic, stages that ask and decide, prompts, hard blocks, policy."""
