//! Tar streams into trees, with no trust in what they say.
