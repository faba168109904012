"""The broker: routes invokes, resumes and settlements between nodes, and keeps the store."""
