"""Hands: one file per verb. The only place where objects are wired. Imports click, and the rest when a verb runs."""
