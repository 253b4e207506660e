"""One function behind each verb; `import scircuit` and the command line offer these."""
