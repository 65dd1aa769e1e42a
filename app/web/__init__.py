"""The web process: health, and the way in for what people decide in Slack."""
