"""Mail comes in over LMTP or SMTP and becomes `inbound-message`."""
