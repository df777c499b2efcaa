"""HTTP only: read a request, call one service, shape the answer."""
