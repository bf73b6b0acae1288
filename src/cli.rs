//! The command line: one file a verb. The only room that prints and that reads the environment.
