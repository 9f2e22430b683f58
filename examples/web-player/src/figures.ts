/** The figures below the picture, once a second. */
import type { Signals } from "@moq/watch";
import type MoqWatch from "@moq/watch/element";
import { element } from "./dom";
import { bitrate, channels, codecName, row } from "./figure";
import { selected } from "./selection";

/** The catalog's clock counts from 2020-01-01T00:00:00Z; in Unix time, ms. */
const CLOCK_EPOCH = 1_577_836_800_000;

/** A latency outside of this (ms) says that the clocks of the two machines differ. */
const BELIEVABLE = [-5, 60_000] as const;

/** What changes between two looks at a counter that may start anew. */
class Rate {
	#last?: { count: number; at: number };

	perSecond(count: number | undefined): number | undefined {
		const now = performance.now();
		const last = this.#last;
		this.#last = count === undefined ? undefined : { count, at: now };
		if (count === undefined || !last || count < last.count) return undefined;
		return ((count - last.count) * 1000) / (now - last.at);
	}
}

export class Figures {
	readonly #watch: MoqWatch;
	readonly #list = element("figures", HTMLDListElement);
	#shown = 0;
	#latencies: number[] = [];
	readonly #frames = new Rate();
	readonly #videoBytes = new Rate();
	readonly #audioBytes = new Rate();

	constructor(scope: Signals.Effect, watch: MoqWatch) {
		this.#watch = watch;
		scope.subscribe(watch.renderer.out.timestamp, (timestamp) => {
			if (timestamp !== undefined) this.#frame(timestamp);
		});
		scope.subscribe(selected, () => this.#show());
		scope.interval(() => this.#show(), 1000);
	}

	/** A frame with this timestamp (ms) was drawn just now. */
	#frame(timestamp: number): void {
		this.#shown++;
		const clock = this.#watch.broadcast.out.catalog.peek()?.clock as { wall?: unknown; timescale?: unknown } | undefined;
		const timescale = clock?.timescale ?? 1e6;
		if (typeof clock?.wall !== "number" || typeof timescale !== "number") return;
		const captured = CLOCK_EPOCH + (clock.wall / timescale) * 1000 + timestamp;
		this.#latencies.push(performance.timeOrigin + performance.now() - captured);
	}

	#show(): void {
		const { video, audio, sync, connection } = this.#watch;
		const picture = video.source.out.config.peek();
		const sound = audio.source.out.config.peek();
		const frames = this.#frames.perSecond(this.#shown);
		const videoBytes = this.#videoBytes.perSecond(video.out.stats.peek()?.bytesReceived);
		const audioBytes = this.#audioBytes.perSecond(audio.out.stats.peek()?.bytesReceived);
		const session = connection.established.peek();
		const rtt = connection.probe.peek()?.rtt;
		const buffer = Math.round(sync.out.buffer.peek());
		this.#list.replaceChildren(
			row("Latency", this.#latency(), "from capture to screen"),
			row("Buffer", picture || sound ? `${buffer} ms` : undefined, "in this player"),
			row("Connection", session?.version, rtt === undefined ? undefined : `round trip ${Math.max(1, Math.round(rtt))} ms`),
			row("Picture", picture && codecName(picture.codec), picture?.codec, bitrate(videoBytes)),
			row("Size", this.#size(), frames === undefined ? undefined : `${Math.round(frames)} frames/s`),
			row("Sound", sound && codecName(sound.codec), sound && channels(sound.numberOfChannels), bitrate(audioBytes)),
		);
	}

	/** Known where the catalog tells the publisher's clock. */
	#latency(): string | undefined {
		const sorted = this.#latencies.sort((a, b) => a - b);
		const median = sorted[sorted.length >> 1];
		this.#latencies = [];
		if (median === undefined) return undefined;
		if (median < BELIEVABLE[0] || median > BELIEVABLE[1]) return "unknown: the clocks differ";
		return `${Math.max(0, Math.round(median))} ms`;
	}

	#size(): string | undefined {
		const display = this.#watch.video.out.display.peek();
		return display && `${display.width} × ${display.height}`;
	}
}
