"""The engine: knows Prefect and its database, and nothing of Ansible."""
