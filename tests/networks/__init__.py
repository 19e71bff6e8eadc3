"""Random networks: one description that the rules negotiate over and that live worlds are built from.

`plan` says what there is, `generator` draws it from any source of chance (a seed, or hypothesis), `members` lets the
rules agree over it, `oracle` knows address by address where a packet goes, whatever the rules think.
"""
