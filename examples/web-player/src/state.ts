/** What the player does, from what @moq/watch reports. */
import { Signals } from "@moq/watch";
import type MoqWatch from "@moq/watch/element";
import { selected } from "./selection";
import * as words from "./words";
import type { Words } from "./words";

/** For styles and tests; people read `label`. */
export type Phase = "connecting" | "problem" | "idle" | "waiting" | "loading" | "live" | "stalled";

export interface State {
	phase: Phase;
	label: string;
	/** Shown in place of the picture. */
	message?: Words;
	/** Shown beside the picture. */
	note?: string;
}

/** Announcements that were under way when the session came up have arrived after this long. */
const SETTLED_MS = 700;

/** A publisher has this long for its first picture. */
const PATIENCE_MS = 8000;

interface Sources {
	watch: MoqWatch;
	live: Signals.Getter<string[]>;
	/** What is the matter with the connection. */
	problem: Signals.Getter<Words | undefined>;
}

export function playerState(scope: Signals.Effect, { watch, live, problem }: Sources): Signals.Getter<State | undefined> {
	const connected = scope.computed((effect) => effect.get(watch.connection.status) === "connected");
	const settled = after(scope, SETTLED_MS, (effect) => effect.get(connected) === true);
	const late = after(scope, PATIENCE_MS, (effect) => effect.get(watch.broadcast.out.active) !== undefined);
	const seen = new Signals.Signal<string | undefined>(undefined);

	scope.run((effect) => {
		const name = effect.get(selected);
		if (name && effect.get(live).includes(name)) seen.set(name);
	});

	return scope.computed((effect): State => {
		const trouble = effect.get(problem);
		if (trouble) return { phase: "problem", label: "No connection", message: trouble };
		if (!effect.get(connected)) return { phase: "connecting", label: "Connecting", message: words.connecting };

		const name = effect.get(selected);
		if (!name) return { phase: "idle", label: "", message: words.choose };
		if (!effect.get(live).includes(name)) {
			if (effect.get(seen) === name) return { phase: "waiting", label: "Ended", message: words.ended(name) };
			if (effect.get(settled)) return { phase: "waiting", label: "Not there", message: words.missing(name) };
			return { phase: "loading", label: "Loading", message: words.loading(name) };
		}
		return playing(effect, watch, name, effect.get(late) === true);
	});
}

/** The state of a broadcast that is live. */
function playing(effect: Signals.Effect, watch: MoqWatch, name: string, late: boolean): State {
	const loading: State = { phase: "loading", label: "Loading", message: words.loading(name) };
	const catalog = effect.get(watch.broadcast.out.catalog);
	if (!catalog) {
		const ended = effect.get(watch.broadcast.out.status) === "offline" && effect.get(watch.broadcast.out.active);
		if (ended || late) return { phase: "problem", label: "No catalog", message: words.noCatalog(name) };
		return loading;
	}
	const video = catalog.video?.renditions ?? {};
	const audio = catalog.audio?.renditions ?? {};
	const hasVideo = Object.keys(video).length > 0;
	if (!hasVideo && Object.keys(audio).length === 0) {
		return { phase: "waiting", label: "Empty", message: words.noTracks(name) };
	}
	if (effect.get(watch.video.source.out.error) === "unsupported") {
		return { phase: "problem", label: "Cannot be decoded", message: words.undecodable(codecs(video)) };
	}
	const heard = Object.keys(effect.get(watch.audio.source.out.available)).length > 0;
	const note = Object.keys(audio).length > 0 && !heard && late ? words.unheard(codecs(audio)) : undefined;
	if (!hasVideo) {
		return { phase: "live", label: "Live", message: words.soundOnly, note };
	}
	if (effect.get(watch.renderer.out.timestamp) === undefined) {
		return late ? { phase: "stalled", label: "No picture", message: words.silent(name), note } : loading;
	}
	if (effect.get(watch.video.out.stalled)) return { phase: "stalled", label: "Stalled", note: words.stalled };
	return { phase: "live", label: "Live", note };
}

const codecs = (renditions: Record<string, { codec: string }>) => [
	...new Set(Object.values(renditions).map((rendition) => rendition.codec)),
];

/** True once `holds` has held for so long without a break. */
function after(scope: Signals.Effect, ms: number, holds: (effect: Signals.Effect) => boolean): Signals.Getter<boolean> {
	const passed = new Signals.Signal(false);
	scope.run((effect) => {
		passed.set(false);
		if (holds(effect)) effect.timer(() => passed.set(true), ms);
	});
	return passed;
}
