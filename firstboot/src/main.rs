//! The program on the node.

fn main() -> std::process::ExitCode {
    nodekiln_firstboot::cli::main()
}
