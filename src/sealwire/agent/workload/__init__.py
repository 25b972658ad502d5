"""What happens on this host, for workload rules: sources of events, the processes behind them, their cost.

``decode_*`` modules turn bytes into values and do nothing else. ``*_source`` modules hold what the kernel
gave and hand out events of the rule language. ``processes`` knows who is who; ``plan`` says what the kernel
should send; ``choice`` says which sources this host allows, in words.
"""
