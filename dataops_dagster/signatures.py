"""stub until the helper's module is pulled"""


def approvals(*a, **k):
    return []
