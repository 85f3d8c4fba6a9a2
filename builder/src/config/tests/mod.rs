//! Whole files: what is accepted, and which finding stands where.

use super::*;

mod breadth;
mod canary;
mod files;
mod findings;
mod hostile;
mod layers;
mod nodes;
mod parts;
mod together;
mod top;
mod types;
mod whole;
