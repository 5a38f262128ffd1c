"""The results pages: texts and pictures of what the records say."""
