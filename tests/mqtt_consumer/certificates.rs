//! Certificates for a broker on 127.0.0.1, made with the `openssl` tool: an authority, a server certificate that
//! it signed, and another authority that signed nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// A directory of PEM files: `authority.pem`, `server.pem`, `server.key`, `stranger.pem`.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn generate() -> Result<Self> {
        let certificates = Self(TempDir::with_prefix("tidemill-certificates-")?);
        for authority in ["authority", "stranger"] {
            certificates.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
                 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
            ))?;
        }
        certificates.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=broker \
             -keyout server.key -out server.csr",
        )?;
        fs::write(certificates.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
        certificates.openssl(
            "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
             -days 2 -extfile names -out server.pem",
        )?;
        Ok(certificates)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(fs::read(self.path(name))?)
    }

    fn openssl(&self, arguments: &str) -> Result<()> {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .context("starting openssl")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {arguments}: {complaint}");
        Ok(())
    }
}
