"""What `verify` has in every machine: sends, listens, knocks and runs commands there. Standard library alone.

`python -m meetme.lab.agent` obeys one JSON order a line and answers with one JSON line. `ears` listen, `voices` send as
programs do, `wire` writes frames on a port as a stranger at its other end could; `packets` are the octets of them all.
"""
