"""The issuing CA: a deployment makes it once, then it is only read and its remaining life is counted."""
