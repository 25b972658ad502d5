"""The expression language of probes: its text, its completion, and trying it on a snapshot.

``parser.parse`` reads text, ``printer.text_of`` writes it, ``templates`` are log messages with expressions in
them, ``completion.complete`` says what may stand at a cursor, ``evaluator.evaluate`` tries an expression on
what a snapshot holds. The tree and its JSON are in ``sealwire.products.probe_expressions``.
"""
