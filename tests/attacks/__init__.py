"""Attacks on the way from control plane to application, each tried on our agent as it is shipped."""
