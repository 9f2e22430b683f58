//! A process of its own, which does not outlive the test.

use std::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
    time::{Duration, Instant},
};

/// From SIGINT to the end of the process, EOS and drain included.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A process that is killed when the test ends, however it ends.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn();
        Self(child.unwrap_or_else(|err| panic!("{command:?}: {err}")))
    }

    /// What it reads, if that is piped. To be taken once.
    pub fn stdin(&mut self) -> ChildStdin {
        self.0.stdin.take().expect("piped, and taken once")
    }

    /// What it prints, if that is piped. To be taken once.
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().expect("piped, and taken once")
    }

    pub fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().expect("piped, and taken once")
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("a child").is_none()
    }

    /// What Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = self.0.id().to_string();
        // Fails when it has just ended by itself, which is not for this to judge.
        let _ = Command::new("kill")
            .args(["-INT", &pid])
            .stderr(std::process::Stdio::null())
            .status();
    }

    pub fn wait_end(&mut self) -> ExitStatus {
        self.wait_end_within(END_LIMIT)
    }

    pub fn wait_end_within(&mut self, limit: Duration) -> ExitStatus {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < end, "it does not end within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Without a chance to say anything. Fails only when it has ended already.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
