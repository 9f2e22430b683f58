use super::*;
use proptest::prelude::*;

fn settings() -> impl Strategy<Value = PathSettings> {
    let times = (0u64..50, 0u64..30, 0u64..200);
    let chances = (0.0f64..30.0, 0.0f64..20.0, 0.0f64..20.0);
    let link = (
        prop::option::of(1_000u64..50_000_000),
        prop::bool::ANY,
        prop::bool::ANY,
    );
    (times, chances, link).prop_map(|(times, chances, (rate, codel, free))| PathSettings {
        delay: ms(times.0),
        jitter: ms(times.1),
        queue: QueueLimit::Time(ms(times.2)),
        loss: Probability::percent(chances.0),
        corrupt: Probability::percent(chances.1),
        duplicate: Probability::percent(chances.2),
        rate: rate.and_then(Rate::new),
        aqm: if codel {
            Aqm::CoDel(CoDelSettings::default())
        } else {
            Aqm::DropTail
        },
        order: if free { Order::Free } else { Order::Kept },
        ..Default::default()
    })
}

proptest! {
    #[test]
    fn every_packet_arrives_or_is_lost_for_a_reason(
        first in settings(),
        second in settings(),
        packets in prop::collection::vec((0u64..5_000, 0usize..1500), 1..300),
        seed in any::<u64>(),
    ) {
        let mut path = Path::new(first.clone(), seed);
        let mut now = Duration::ZERO;
        let mut arrived = Vec::new();
        for (n, (gap, len)) in packets.iter().enumerate() {
            if n == packets.len() / 2 {
                path.set(now, second.clone());
            }
            now += us(*gap);
            let _ = path.send(now, packet(*len));
            while let Some((at, _)) = path.pop(now) {
                prop_assert!(at <= now);
                arrived.push(at);
            }
        }
        while let Some(next) = path.next_at() {
            prop_assert!(next > now);
            now = next;
            while let Some((at, _)) = path.pop(now) {
                prop_assert_eq!(at, now);
                arrived.push(at);
            }
        }
        let stats = path.stats(now);
        let made = stats.offered.packets + stats.duplicated;
        prop_assert_eq!(made, arrived.len() as u64 + stats.lost.total());
        prop_assert_eq!(stats.queued, Traffic::default());
        prop_assert!(arrived.is_sorted());
    }

    #[test]
    fn how_often_one_looks_changes_nothing(
        settings in settings(),
        packets in prop::collection::vec((0u64..5_000, 0usize..1500), 1..200),
        looks in prop::collection::vec(any::<bool>(), 200),
    ) {
        let run = |looks: &[bool]| {
            let mut path = Path::new(settings.clone(), 1);
            let mut now = Duration::ZERO;
            let mut arrived = Vec::new();
            for ((gap, len), look) in packets.iter().zip(looks) {
                now += us(*gap);
                let _ = path.send(now, packet(*len));
                if *look {
                    arrived.extend(std::iter::from_fn(|| path.pop(now)));
                }
            }
            arrived.extend(std::iter::from_fn(|| path.pop(Duration::MAX)));
            arrived
        };
        prop_assert_eq!(run(&looks), run(&[false; 200]));
    }
}
