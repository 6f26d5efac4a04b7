//! The status of the members.

use std::collections::BTreeSet;

use etcd_client::{AlarmAction, AlarmType, StatusResponse};
use tokio::task::JoinSet;

use super::connection::Connection;
use super::{EtcdStore, Repeat, join_errors};
use crate::{ClusterStatus, MemberStatus, StoreError, StoreErrorKind};

impl EtcdStore {
    /// Queries every endpoint. A member that denies the status is listed with its endpoint only.
    pub(super) async fn cluster_status(&self) -> Result<ClusterStatus, StoreError> {
        let mut answers = self.query_all().await;
        answers.sort_by_key(|(index, _)| *index);
        let mut status = ClusterStatus::default();
        let mut alarms = BTreeSet::new();
        let mut errors = Vec::new();
        for (index, answer) in answers {
            let endpoint = self.inner.members[index].endpoint.clone();
            match answer {
                Ok((response, quota)) => {
                    alarms.extend(response.errors().iter().filter_map(|error| alarm_in(error)));
                    status.quota = smaller(status.quota, quota);
                    status.members.push(member_status(endpoint, &response));
                }
                Err(error) if error.kind == StoreErrorKind::Denied => {
                    status.members.push(MemberStatus {
                        endpoint,
                        ..MemberStatus::default()
                    });
                }
                Err(error) => {
                    status.unreachable.push((endpoint, error.message.clone()));
                    errors.push(error);
                }
            }
        }
        if status.members.is_empty() {
            return Err(join_errors(errors));
        }
        alarms.extend(self.alarms().await?);
        status.alarms = alarms.into_iter().collect();
        Ok(status)
    }

    /// Returns the status and the quota of each member, 0 if unknown.
    async fn query_all(&self) -> Vec<(usize, Result<(StatusResponse, u64), StoreError>)> {
        let limit = self.inner.connect_timeout.min(self.inner.request_timeout);
        let mut queries = JoinSet::new();
        for (index, member) in self.inner.members.iter().cloned().enumerate() {
            let metrics = self.inner.metrics.clone();
            queries.spawn(async move {
                let answer = match member.status(limit).await {
                    Ok(response) => {
                        let mut quota = size(response.db_size_quota());
                        if quota == 0 {
                            quota = metrics.quota(&member.endpoint).await.unwrap_or(0);
                        }
                        Ok((response, quota))
                    }
                    Err(error) => Err(error),
                };
                (index, answer)
            });
        }
        queries.join_all().await
    }

    /// Returns the raised alarms; empty if the user lacks the permission.
    async fn alarms(&self) -> Result<Vec<String>, StoreError> {
        let limit = self.inner.request_timeout;
        let response = self
            .call(Repeat::Safe, limit, |connection: Connection| async move {
                let mut maintenance = connection.client.maintenance_client();
                let none = AlarmType::None;
                maintenance.alarm(AlarmAction::Get, none, None).await
            })
            .await;
        match response {
            Ok(response) => {
                let alarms = response.alarms().iter();
                Ok(alarms
                    .filter_map(|member| alarm_name(member.alarm()))
                    .map(str::to_owned)
                    .collect())
            }
            Err(error) if error.kind == StoreErrorKind::Denied => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn member_status(endpoint: String, response: &StatusResponse) -> MemberStatus {
    MemberStatus {
        endpoint,
        version: response.version().to_owned(),
        db_size: size(response.db_size()),
        db_size_in_use: size(response.raft_used_db_size()),
        member_id: response.header().map_or(0, |header| header.member_id()),
        leader_id: response.leader(),
    }
}

fn size(bytes: i64) -> u64 {
    u64::try_from(bytes).unwrap_or(0)
}

/// Returns the smaller quota; 0 if unknown.
fn smaller(quota: Option<u64>, reported: u64) -> Option<u64> {
    match (quota, reported) {
        (quota, 0) => quota,
        (Some(quota), reported) => Some(quota.min(reported)),
        (None, reported) => Some(reported),
    }
}

fn alarm_name(alarm: AlarmType) -> Option<&'static str> {
    match alarm {
        AlarmType::None => None,
        AlarmType::Nospace => Some("NOSPACE"),
        AlarmType::Corrupt => Some("CORRUPT"),
    }
}

/// Extracts the alarm from an error of a member's status, such as `memberID:1 alarm:NOSPACE `.
fn alarm_in(error: &str) -> Option<String> {
    let name = error.split("alarm:").nth(1)?.split_whitespace().next()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_are_found_in_the_errors_of_a_status() {
        let error = "memberID:9223372036854775808 alarm:NOSPACE ";
        assert_eq!(alarm_in(error).as_deref(), Some("NOSPACE"));
        assert_eq!(alarm_in("etcdserver: no leader"), None);
    }

    #[test]
    fn the_smallest_reported_quota_is_used() {
        assert_eq!(smaller(None, 0), None);
        assert_eq!(smaller(None, 8), Some(8));
        assert_eq!(smaller(Some(8), 4), Some(4));
        assert_eq!(smaller(Some(8), 0), Some(8));
    }
}
