"""What each verb does, a module a verb; `cli` reads the options."""
