//! How the release is started: what `erlexec` and the release's own shell scripts would have done, as a plan
//! that PID 1 follows without a shell.

use crate::tree::TreePath;

/// What PID 1 runs, and what it does before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartPlan {
    /// The program (`beam.smp`).
    pub program: TreePath,
    /// Its arguments, `argv[0]` first.
    pub arguments: Vec<Vec<u8>>,
    /// Its environment, as names and values.
    pub env: Vec<(String, String)>,
    /// Files that are copied at boot, each as source and target.
    pub copies: Vec<(TreePath, TreePath)>,
    /// Its working directory.
    pub directory: TreePath,
    /// Programs that are started before it, in the background (`epmd`), each with its arguments, `argv[0]`
    /// first.
    pub helpers: Vec<(TreePath, Vec<Vec<u8>>)>,
    /// Why a shell is needed, if one is.
    pub needs_shell: Option<String>,
    /// What the summary should say about the start.
    pub notes: Vec<String>,
}
