//! Two writers: one durable file at a time, and a staged output folder.

mod replace;
mod stage;
mod writeback;

pub use replace::{
    create_file, make_dir, remove_file_durably, rename_durably, replace_file, symlink_durably, sync_parent,
};
pub use stage::{StageError, StagedTree};
