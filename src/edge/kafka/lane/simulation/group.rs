//! The simulated group: a coordinator with generations and static members, and the background thread of each client,
//! which rejoins by itself, before its lane has polled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::edge::kafka::lane::broker::Event;
use crate::edge::kafka::lane::fault::{Class, Fault};

/// How long a rebalance waits for members.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(20);
/// A client whose lane does not poll for this long stops its heartbeats.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Who a client is to the group, and since when: what offsets are committed under.
pub(super) type Generation = (u64, u64);

#[derive(Debug)]
struct Member {
    id: u64,
    deadline: Duration,
    /// What it said it owns when it joined the running rebalance.
    joined: Option<BTreeSet<i32>>,
    assigned: BTreeSet<i32>,
}

/// What the lane is to be told, each with the generation it belongs to.
struct Op {
    event: Event,
    generation: Option<Generation>,
}

/// The background of a client; `process` names it, `instance` is the static member it stands for.
struct Client {
    instance: usize,
    member: Option<u64>,
    generation: u64,
    owned: BTreeSet<i32>,
    ops: VecDeque<Op>,
    rejoins: bool,
    is_frozen: bool,
    is_fenced: bool,
    polled: Duration,
}

/// The coordinator and the clients' backgrounds.
pub(super) struct Group {
    partitions: i32,
    session: Duration,
    /// Whether a client's background waits until its lane has let go before it tells the group so. The real client
    /// does; a lane must be right without.
    waits_for_lanes: bool,
    generation: u64,
    members: BTreeMap<usize, Member>,
    rebalancing_since: Option<Duration>,
    clients: BTreeMap<usize, Client>,
    next_id: u64,
}

impl Group {
    pub(super) fn new(partitions: i32, session: Duration, waits_for_lanes: bool) -> Self {
        Self {
            partitions,
            session,
            waits_for_lanes,
            generation: 0,
            members: BTreeMap::new(),
            rebalancing_since: None,
            clients: BTreeMap::new(),
            next_id: 1,
        }
    }

    pub(super) fn open(&mut self, process: usize, instance: usize, now: Duration) {
        let client = Client {
            instance,
            member: None,
            generation: 0,
            owned: BTreeSet::new(),
            ops: VecDeque::new(),
            rejoins: false,
            is_frozen: false,
            is_fenced: false,
            polled: now,
        };
        self.clients.insert(process, client);
    }

    /// The process is gone; its membership lives on until its session ends.
    pub(super) fn drop_client(&mut self, process: usize) {
        self.clients.remove(&process);
    }

    pub(super) fn freeze(&mut self, process: usize, is_frozen: bool) {
        if let Some(client) = self.clients.get_mut(&process) {
            client.is_frozen = is_frozen;
        }
    }

    /// The coordinator was away: nobody's session ended for that.
    pub(super) fn extend_sessions(&mut self, now: Duration) {
        for member in self.members.values_mut() {
            member.deadline = now + self.session;
        }
    }

    /// Rebalances once more. A static member that dies after it let go of a partition and comes back before its session
    /// ends gets what it had left, without a rebalance: the partition stays with nobody until the next one.
    pub(super) fn rebalance_again(&mut self, now: Duration) {
        self.rebalancing_since.get_or_insert(now);
    }

    /// Serves the next event of the group to a lane that polls, and the generation that goes with it.
    pub(super) fn serve(&mut self, process: usize, now: Duration) -> Option<(Event, Option<Generation>)> {
        let client = self.clients.get_mut(&process)?;
        client.polled = now;
        let Op { event, generation } = client.ops.pop_front()?;
        if client.ops.is_empty() {
            self.rejoin(process, now);
        }
        Some((event, generation))
    }

    /// A client that has let go of partitions joins again, so that others can have them.
    fn rejoin(&mut self, process: usize, now: Duration) {
        let Some(client) = self.clients.get_mut(&process) else { return };
        if std::mem::take(&mut client.rejoins) {
            self.rebalancing_since.get_or_insert(now);
        }
    }

    /// What the background knows right now: what a client that asks late commits under.
    pub(super) fn newest(&self, process: usize) -> Option<Generation> {
        let client = self.clients.get(&process)?;
        client.member.map(|member| (member, client.generation))
    }

    /// The coordinator's check of offsets: member and generation, not ownership.
    pub(super) fn check(&self, instance: usize, generation: Option<Generation>) -> Result<(), Fault> {
        let refuse = |class, text| Err(Fault::new(class, "offsets", text));
        let Some((id, generation)) = generation else { return refuse(Class::StaleGeneration, "no generation") };
        match self.members.get(&instance) {
            None => refuse(Class::StaleGeneration, "unknown member"),
            Some(member) if member.id != id => refuse(Class::ConsumerLost, "fenced instance"),
            Some(_) if generation != self.generation => refuse(Class::StaleGeneration, "illegal generation"),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn background(&mut self, now: Duration) {
        let before = self.members.len();
        self.members.retain(|_, member| member.deadline > now);
        if self.members.len() != before {
            self.rebalancing_since.get_or_insert(now);
        }
        let processes: Vec<usize> = self.clients.keys().copied().collect();
        for process in processes {
            self.heartbeat(process, now);
        }
        self.rebalance(now);
    }

    fn heartbeat(&mut self, process: usize, now: Duration) {
        let Some(client) = self.clients.get_mut(&process) else { return };
        if client.is_frozen || client.is_fenced || now.saturating_sub(client.polled) > POLL_INTERVAL_MAX {
            return;
        }
        let Some(id) = client.member else { return self.join(process, now) };
        let is_rebalancing = self.rebalancing_since.is_some();
        match self.members.get_mut(&client.instance) {
            Some(member) if member.id == id => {
                member.deadline = now + self.session;
                if is_rebalancing && member.joined.is_none() && (client.ops.is_empty() || !self.waits_for_lanes) {
                    member.joined = Some(client.owned.clone());
                }
            }
            other => {
                client.is_fenced = other.is_some();
                client.member = None;
                client.rejoins = false;
                client.ops.clear();
                client.owned.clear();
                let event = Event::Revoked { partitions: (0..self.partitions).collect(), is_lost: true };
                client.ops.push_back(Op { event, generation: None });
                if client.is_fenced {
                    let fault = Fault::new(Class::ConsumerLost, "poll", "fenced by a newer instance");
                    client.ops.push_back(Op { event: Event::Fault(fault), generation: None });
                }
            }
        }
    }

    fn join(&mut self, process: usize, now: Duration) {
        let may = |client: &&mut Client| client.ops.is_empty() || !self.waits_for_lanes;
        let Some(client) = self.clients.get_mut(&process).filter(may) else { return };
        let (id, instance) = (self.next_id, client.instance);
        self.next_id += 1;
        client.member = Some(id);
        let deadline = now + self.session;
        match self.members.get_mut(&instance) {
            // A static member that comes back to a stable group gets what it had.
            Some(member) if self.rebalancing_since.is_none() => {
                (member.id, member.deadline) = (id, deadline);
                client.generation = self.generation;
                client.owned.clone_from(&member.assigned);
                let event = Event::Assigned(client.owned.iter().copied().collect());
                client.ops.push_back(Op { event, generation: Some((id, self.generation)) });
            }
            Some(member) => {
                (member.id, member.deadline, member.joined) = (id, deadline, Some(BTreeSet::new()));
            }
            None => {
                let joined = Some(BTreeSet::new());
                self.members.insert(instance, Member { id, deadline, joined, assigned: BTreeSet::new() });
                self.rebalancing_since.get_or_insert(now);
            }
        }
    }

    fn rebalance(&mut self, now: Duration) {
        let Some(since) = self.rebalancing_since else { return };
        if now.saturating_sub(since) > REBALANCE_TIMEOUT {
            self.members.retain(|_, member| member.joined.is_some());
        }
        if self.members.values().any(|member| member.joined.is_none()) {
            return;
        }
        self.rebalancing_since = None;
        self.generation += 1;
        self.assign();
        self.sync(now);
    }

    /// Gives each member what it keeps and what is free; what moves is only taken away this time.
    fn assign(&mut self) {
        let (count, members) = (self.partitions.unsigned_abs() as usize, self.members.len().max(1));
        let mut larger = count % members;
        let mut free: BTreeSet<i32> = (0..self.partitions).collect();
        let mut quotas = Vec::new();
        for member in self.members.values_mut() {
            let owned = member.joined.take().unwrap_or_default();
            let quota = count / members + usize::from(larger > 0);
            larger = larger.saturating_sub(1);
            member.assigned = owned.iter().copied().take(quota).collect();
            free.retain(|partition| !owned.contains(partition));
            quotas.push(quota);
        }
        for (member, quota) in self.members.values_mut().zip(quotas) {
            while member.assigned.len() < quota {
                let Some(partition) = free.pop_first() else { break };
                member.assigned.insert(partition);
            }
        }
    }

    /// Tells the clients their assignments, as their backgrounds learn them.
    fn sync(&mut self, now: Duration) {
        for client in self.clients.values_mut() {
            let Some(member) = self.members.get(&client.instance).filter(|member| Some(member.id) == client.member)
            else {
                continue;
            };
            client.generation = self.generation;
            let gone: Vec<i32> = client.owned.difference(&member.assigned).copied().collect();
            let come: Vec<i32> = member.assigned.difference(&client.owned).copied().collect();
            client.owned.clone_from(&member.assigned);
            if !gone.is_empty() {
                client.rejoins = true;
                let event = Event::Revoked { partitions: gone, is_lost: false };
                client.ops.push_back(Op { event, generation: Some((member.id, self.generation)) });
                if !self.waits_for_lanes {
                    client.rejoins = false;
                    self.rebalancing_since = Some(now);
                }
            }
            client.ops.push_back(Op { event: Event::Assigned(come), generation: Some((member.id, self.generation)) });
        }
    }
}
