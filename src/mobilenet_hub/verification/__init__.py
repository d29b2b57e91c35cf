"""Does this machine compute what the original networks computed? Golden outputs, and who compares.

`verify` runs in every engine and precision; `remembered` keeps the outcome for this machine, so
that every dataset can say it.
"""
