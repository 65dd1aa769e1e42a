"""The control plane: which fields of a workspace people change, what is in force and why, and how a change is made."""
