"""The local stack: broker, database, scripted model, mailbox, webhook receiver and Slack, each a process of its own."""
