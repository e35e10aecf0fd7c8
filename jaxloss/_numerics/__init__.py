"""Stable pieces that more than one family uses, by topic, under their usual names.

`safe`: quotients, products and masks at the edges of a domain. `derivatives`: functions with hand-written derivatives.
`labels`: class indices. `logistic`, `softmax`, `norms`: the functions of these names. `xla`: what steers the compiler.
"""
