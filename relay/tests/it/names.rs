//! Who is behind a name.

use std::{sync::Arc, time::Duration};

use relay::tunnel::{
    edge::{Admission, Membership, OnConflict, Registry},
    protocol::{Kind, SessionId},
};

use crate::support::{Joined, echo, round_trip, within};

struct Agent {
    id: SessionId,
    carriers: Vec<Joined>,
}

impl Agent {
    async fn with_carriers(count: usize) -> Self {
        let address = echo().await.to_string();
        let mut carriers = Vec::new();
        for _ in 0..count {
            carriers.push(Joined::to(&address).await);
        }
        Self {
            id: SessionId::random(),
            carriers,
        }
    }

    fn ask(&self, registry: &Arc<Registry>, carrier: usize, policy: OnConflict) -> Admission {
        let carrier = self.carriers[carrier].carrier.clone();
        registry.admit("happy-panda", self.id, carrier, policy, 2)
    }

    fn join(&self, registry: &Arc<Registry>, carrier: usize, policy: OnConflict) -> Membership {
        match self.ask(registry, carrier, policy) {
            Admission::Admitted(membership) => membership,
            other => panic!("{other:?}"),
        }
    }
}

fn registry() -> Arc<Registry> {
    Arc::default()
}

#[tokio::test]
async fn an_old_agent_that_closes_late_does_not_take_the_name_from_the_new_one() {
    let registry = registry();
    let (old, new) = (Agent::with_carriers(1).await, Agent::with_carriers(1).await);
    let first = old.join(&registry, 0, OnConflict::Replace);
    let second = new.join(&registry, 0, OnConflict::Replace);
    assert!(first.session().is_ended());
    assert!(old.carriers[0].carrier.is_ended());
    assert!(first.session().epoch() < second.session().epoch());
    drop(first);
    let behind = registry.session("happy-panda").unwrap();
    assert_eq!(behind.id(), new.id);
    drop(second);
    assert!(registry.session("happy-panda").is_none());
    assert!(registry.is_empty());
}

#[tokio::test]
async fn a_name_can_be_refused_to_a_second_agent() {
    let registry = registry();
    let (first, second) = (Agent::with_carriers(1).await, Agent::with_carriers(1).await);
    let place = first.join(&registry, 0, OnConflict::Refuse);
    let refused = second.ask(&registry, 0, OnConflict::Refuse);
    assert!(matches!(refused, Admission::Taken), "{refused:?}");
    drop(place);
    second.join(&registry, 0, OnConflict::Refuse);
}

#[tokio::test]
async fn pooled_agents_take_turns() {
    let registry = registry();
    let (first, second) = (Agent::with_carriers(1).await, Agent::with_carriers(1).await);
    let _one = first.join(&registry, 0, OnConflict::Pool);
    let _two = second.join(&registry, 0, OnConflict::Pool);
    let mut turns = [0, 0];
    for _ in 0..10 {
        let session = registry.session("happy-panda").unwrap();
        turns[usize::from(session.id() == second.id)] += 1;
    }
    assert_eq!(turns, [5, 5]);
}

#[tokio::test]
async fn carriers_of_one_run_are_one_session_up_to_their_limit() {
    let registry = registry();
    let agent = Agent::with_carriers(3).await;
    let first = agent.join(&registry, 0, OnConflict::Replace);
    let second = agent.join(&registry, 1, OnConflict::Replace);
    assert!(Arc::ptr_eq(first.session(), second.session()));
    let third = agent.ask(&registry, 2, OnConflict::Replace);
    assert!(matches!(third, Admission::Full), "{third:?}");
    drop(first);
    let session = registry.session("happy-panda").unwrap();
    assert_eq!(session.carriers(), 1);
    assert!(!session.is_ended());
}

#[tokio::test]
async fn new_streams_go_where_fewest_are() {
    let registry = registry();
    let agent = Agent::with_carriers(2).await;
    let _places = [0, 1].map(|carrier| agent.join(&registry, carrier, OnConflict::Replace));
    let session = registry.session("happy-panda").unwrap();
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(session.open(Default::default()).await.unwrap());
    }
    for carrier in &agent.carriers {
        assert_eq!(carrier.carrier.load(), 5);
    }
    assert_eq!(session.load(), 10);
}

#[tokio::test]
async fn who_asks_too_early_gets_the_agent_when_it_comes() {
    let registry = registry();
    let agent = Agent::with_carriers(1).await;
    let waiting = {
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            let patience = Duration::from_secs(20);
            registry.wait_for("happy-panda", patience).await.is_some()
        })
    };
    tokio::task::yield_now().await;
    let _place = agent.join(&registry, 0, OnConflict::Replace);
    assert!(within(waiting).await.unwrap());
    let nobody = registry.wait_for("other", Duration::from_millis(1)).await;
    assert!(nobody.is_none());
}

#[tokio::test]
async fn ending_a_name_ends_its_agents() {
    let registry = registry();
    let agent = Agent::with_carriers(2).await;
    let places = [0, 1].map(|carrier| agent.join(&registry, carrier, OnConflict::Replace));
    registry.end("happy-panda");
    for joined in &agent.carriers {
        assert!(joined.carrier.is_ended());
    }
    assert!(places[0].session().is_ended());
    assert!(registry.session("happy-panda").is_none());
}

#[tokio::test]
async fn a_carrier_that_drains_leaves_new_streams_to_the_others() {
    let registry = registry();
    let agent = Agent::with_carriers(2).await;
    let first = agent.join(&registry, 0, OnConflict::Replace);
    // Keeps the carrier busy, so that it drains and does not end.
    let open = agent.carriers[0].carrier.open(Kind::Tcp).await.unwrap();
    let second = agent.join(&registry, 1, OnConflict::Replace);
    let busy = [
        agent.carriers[1].carrier.open(Kind::Tcp).await.unwrap(),
        agent.carriers[1].carrier.open(Kind::Tcp).await.unwrap(),
    ];
    agent.carriers[0].drain.cancel();
    within(async {
        while agent.carriers[0].carrier.open(Kind::Tcp).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!agent.carriers[0].carrier.is_ended());
    let stream = second.session().open(Kind::Tcp).await.unwrap();
    assert_eq!(
        within(round_trip(stream, b"there")).await.unwrap(),
        b"there"
    );
    drop((open, busy, first));
}

#[tokio::test]
async fn an_agent_that_was_replaced_does_not_take_the_name_back() {
    let registry = registry();
    let (old, new) = (Agent::with_carriers(2).await, Agent::with_carriers(1).await);
    let replace = OnConflict::Replace;
    let first = old.join(&registry, 0, replace);
    assert!(registry.would_take("happy-panda", old.id, replace));
    let second = new.join(&registry, 0, replace);
    assert!(!registry.would_take("happy-panda", old.id, replace));
    let back = old.ask(&registry, 1, replace);
    assert!(matches!(back, Admission::Taken), "{back:?}");
    assert!(!second.session().is_ended());
    drop((first, second));
    assert!(registry.would_take("happy-panda", old.id, replace));
    old.join(&registry, 1, replace);
}
