//! Which process listens on a port of this machine: so that the processor time of a database or broker that runs
//! already can be told, too (`/proc/net/tcp`, `/proc/PID/fd`).

use std::fs;

/// The state of a listening socket.
const LISTEN: &str = "0A";

/// The process that listens on `port`, as far as this user may know.
pub(super) fn of_port(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|t| listening(&t, port))
        .collect();
    let targets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| holds(*pid, &targets))
}

/// Inodes of sockets that listen on `port`.
fn listening(table: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTEN;
        listens.then(|| fields.get(9).copied().unwrap_or_default().to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn holds(pid: u32, targets: &[String]) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|link| targets.iter().any(|target| link.to_str() == Some(target)))
}

#[cfg(test)]
mod tests {
    use super::of_port;

    #[test]
    fn the_owner_of_a_port_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(of_port(port), Some(std::process::id()));
        drop(listener);
        assert_eq!(of_port(port), None);
    }
}
