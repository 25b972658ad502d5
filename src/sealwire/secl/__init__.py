"""The rule language of workload rules: lexer, types, compiler, evaluator. No I/O, no thread, no clock.

Text becomes tokens (``lexer``), a tree (``parser``), checked conditions (``check``, against ``catalogue``
and ``constants``), and closures (``compiler``). ``policy`` reads the files that carry rules, ``merge`` makes
one list of several, ``ruleset`` evaluates events against it. ``policy`` alone uses a library: the YAML
scanner. Nothing here raises anything but ``ExpressionError`` on an expression, whatever it holds, and no
expression, pattern or policy takes more than time proportional to its length and the event's.
"""
