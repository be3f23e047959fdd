"""gunicorn settings: every worker's embedded server starts with the worker, as the documentation advises."""


def post_worker_init(worker: object) -> None:
    from rbkit_websocket import ensure_started

    ensure_started()
