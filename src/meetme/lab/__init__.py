"""A world in a box: a whole federation in network namespaces, from the files of a Kathara lab.

`labconf` and `plan` are the rules (pure); `source` reads a lab's directory; `keeper` is the first process of a lab and
builds it; `host` is what commands call; `checks`, `agent` and `verify` prove with packets that it works.
"""
