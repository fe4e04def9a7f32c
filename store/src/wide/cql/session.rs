//! Opening sessions: how the driver is set up, and what it means when a cluster cannot be reached.
//!
//! Two kinds: a survey looks at the cluster and changes its schema, the session for data does the rest. Both connect
//! to the local data centre alone, because requests never go elsewhere.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{PoolSize, SelfIdentity};
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestError, ConnectionSetupRequestErrorKind,
    DbError, MetadataError, NewSessionError,
};
use scylla::policies::host_filter::DcHostFilter;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::SerialConsistency;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::options::{Consistency, CqlOptions, OptionsError};
use super::retry::OnceElsewhere;

/// A connection that stays silent this long after being asked is taken for broken. Requests on it have their own
/// deadline; this is for the next ones.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often connections are asked: with the timeout above, a frozen node is left within ten seconds.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// The name that operators see in the server's list of clients.
const APPLICATION: &str = "tidemill";

/// Why no session could be opened. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options make no sense.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// TLS is asked for.
    #[error("TLS towards the cluster is not built into this program; remove the setting or use a tunnel")]
    TlsNotBuilt,
    /// No host answered.
    #[error("no host of the cluster can be reached: {}", listed(.0))]
    Unreachable(Vec<HostFailure>),
    /// The login was refused.
    #[error("the cluster refuses the login ({0}); check username and password")]
    Authentication(String),
    /// A login is needed.
    #[error("the cluster asks for a login; configure username and password")]
    LoginNeeded,
    /// The local data centre does not exist.
    #[error(
        "the cluster has no data centre {given:?}; set the local data centre to one of: {}",
        .found.join(", ")
    )]
    UnknownDatacenter {
        /// What was configured.
        given: String,
        /// What there is.
        found: Vec<String>,
    },
    /// No node of the local data centre answered.
    #[error("no node of data centre {datacenter:?} can be reached; the cluster lists: {}", .nodes.join(", "))]
    DatacenterDown {
        /// The local data centre.
        datacenter: String,
        /// Its nodes.
        nodes: Vec<String>,
    },
    /// Anything else.
    #[error("no session with the cluster: {0}")]
    Other(String),
}

/// A host that could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFailure {
    /// The host as configured.
    pub host: String,
    /// What went wrong.
    pub reason: String,
}

fn listed(failures: &[HostFailure]) -> String {
    let each: Vec<String> =
        failures.iter().map(|failure| format!("{}: {}", failure.host, failure.reason)).collect();
    each.join("; ")
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Looking at the cluster, and its schema.
    Survey,
    /// Reading and writing tables.
    Data,
}

/// Opens a session and makes sure that the local data centre exists and answers.
pub(super) async fn open(options: &CqlOptions, purpose: Purpose) -> Result<Session, OpenError> {
    options.check()?;
    if options.tls.is_some() {
        return Err(OpenError::TlsNotBuilt);
    }
    let session = match builder(options, purpose).build().await {
        Ok(session) => session,
        Err(error) => return Err(explain(options, &error).await),
    };
    // A node that has too much to do tells at first of nobody, itself included.
    let tells = session.get_cluster_state().get_nodes_info().iter().any(|node| node.datacenter.is_some());
    if !tells {
        session.refresh_metadata().await.map_err(|error| OpenError::Other(error.to_string()))?;
    }
    check_datacenter(options, &session)?;
    Ok(session)
}

/// The serial level that goes with a consistency level.
pub(super) const fn serial(consistency: Consistency) -> SerialConsistency {
    match consistency {
        Consistency::LocalOne | Consistency::LocalQuorum => SerialConsistency::LocalSerial,
        Consistency::Quorum => SerialConsistency::Serial,
    }
}

/// The driver's word for a consistency level.
pub(super) const fn level(consistency: Consistency) -> scylla::statement::Consistency {
    match consistency {
        Consistency::LocalOne => scylla::statement::Consistency::LocalOne,
        Consistency::LocalQuorum => scylla::statement::Consistency::LocalQuorum,
        Consistency::Quorum => scylla::statement::Consistency::Quorum,
    }
}

fn builder(options: &CqlOptions, purpose: Purpose) -> SessionBuilder {
    let connections = match purpose {
        Purpose::Survey => NonZeroUsize::MIN,
        Purpose::Data => options.connections_per_host.into(),
    };
    let builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .pool_size(PoolSize::PerHost(connections))
        .connection_timeout(options.connect_timeout)
        .hostname_resolution_timeout(Some(options.connect_timeout))
        .keepalive_interval(KEEPALIVE_INTERVAL)
        .keepalive_timeout(KEEPALIVE_TIMEOUT)
        .keyspaces_to_fetch([options.keyspace.as_str()])
        .fetch_full_schema_metadata(false)
        // Nodes elsewhere are listed, and nothing is sent to them: they need not even be reachable.
        .host_filter(Arc::new(DcHostFilter::new(options.local_datacenter.clone())))
        .custom_identity(
            SelfIdentity::new()
                .with_application_name(APPLICATION)
                .with_application_version(env!("CARGO_PKG_VERSION")),
        )
        .default_execution_profile_handle(profile(options, purpose).into_handle());
    match &options.credentials {
        Some(login) => builder.user(&login.username, &login.password),
        None => builder,
    }
}

/// Requests of data have no deadline here: the backend gives each operation one, its turn included.
fn profile(options: &CqlOptions, purpose: Purpose) -> ExecutionProfile {
    let policy = DefaultPolicy::builder()
        .prefer_datacenter(options.local_datacenter.clone())
        .token_aware(true)
        .permit_dc_failover(false)
        .build();
    let deadline = match purpose {
        Purpose::Survey => Some(CqlOptions::SCHEMA_TIMEOUT),
        Purpose::Data => None,
    };
    ExecutionProfile::builder()
        .load_balancing_policy(policy)
        .retry_policy(Arc::new(OnceElsewhere::Writes))
        .consistency(level(options.write_consistency))
        .serial_consistency(Some(serial(options.write_consistency)))
        .request_timeout(deadline)
        .build()
}

fn check_datacenter(options: &CqlOptions, session: &Session) -> Result<(), OpenError> {
    let state = session.get_cluster_state();
    let nodes = state.get_nodes_info();
    let local: Vec<_> = nodes
        .iter()
        .filter(|node| node.datacenter.as_deref() == Some(options.local_datacenter.as_str()))
        .collect();
    if local.iter().any(|node| node.is_connected()) {
        return Ok(());
    }
    let given = options.local_datacenter.clone();
    if local.is_empty() {
        let mut found: Vec<String> = nodes.iter().filter_map(|node| node.datacenter.clone()).collect();
        found.sort();
        found.dedup();
        return Err(OpenError::UnknownDatacenter { given, found });
    }
    let nodes = local.iter().map(|node| format!("{}:{}", node.address.ip(), node.address.port())).collect();
    Err(OpenError::DatacenterDown { datacenter: given, nodes })
}

/// The driver names only the last host's trouble: each is tried once more, to name them all.
async fn explain(options: &CqlOptions, error: &NewSessionError) -> OpenError {
    if let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(setup),
    })) = error
    {
        return refused(setup);
    }
    let mut failures = Vec::new();
    for host in &options.contact_points {
        match timeout(options.connect_timeout, TcpStream::connect(host)).await {
            Ok(Ok(_)) => return OpenError::Other(error.to_string()),
            Ok(Err(error)) => {
                failures.push(HostFailure { host: host.clone(), reason: error.to_string() });
            }
            Err(_) => {
                let reason = format!("no answer within {:?}", options.connect_timeout);
                failures.push(HostFailure { host: host.clone(), reason });
            }
        }
    }
    OpenError::Unreachable(failures)
}

fn refused(setup: &ConnectionSetupRequestError) -> OpenError {
    let error = setup.get_error();
    if matches!(error, ConnectionSetupRequestErrorKind::MissingAuthentication) {
        OpenError::LoginNeeded
    } else if let ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, reason) = error {
        OpenError::Authentication(reason.clone())
    } else {
        OpenError::Other(setup.to_string())
    }
}
