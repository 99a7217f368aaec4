//! The evaluation process of the test servers: `longrun evaluation-worker` without the rest of `longrun`.

fn main() -> std::io::Result<()> {
    kinds::evaluation::serve(std::io::stdin(), std::io::stdout())
}
