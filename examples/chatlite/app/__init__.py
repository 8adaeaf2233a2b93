"""ChatLite's background half: a polite crawler and the Celery tasks around it."""
