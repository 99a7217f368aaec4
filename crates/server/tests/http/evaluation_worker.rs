//! The evaluation process of the test servers: `longrun evaluation-worker` without the rest of `longrun`.

fn main() -> std::io::Result<()> {
    kinds::evidence::worker::serve(std::io::stdin(), std::io::stdout())
}
