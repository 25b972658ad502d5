"""Commands for people, over the admin API.

One file per group of commands. This package knows the control plane only as HTTP and never imports
another actor; ``sealwire up`` starts them as child processes.
"""
