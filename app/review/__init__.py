"""What Slack and the web show a reviewer alike: the sealed binding, reasons in words, differences, refusals."""
