use std::process::ExitCode;

fn main() -> ExitCode {
    purrscope::cli::main()
}
