"""The request's way: authenticate, limit, route, contract, guard, answer, guard, record. One file a step."""
