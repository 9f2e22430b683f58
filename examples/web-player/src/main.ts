import "./no-eval";
import { Signals } from "@moq/watch";
import MoqWatch from "@moq/watch/element";
import { liveBroadcasts, showList } from "./broadcasts";
import { controls } from "./controls";
import { element } from "./dom";
import { Figures } from "./figures";
import { Relay, lacks } from "./relay";
import { relayUrl } from "./relay-url";
import { preselect, selected } from "./selection";
import { type State, playerState } from "./state";
import type { Words } from "./words";

/** How long the picture may stand still before the connection is doubted, and how often after that. */
const DOUBT_MS = 2000;

const missing = lacks();
element("relay-host", HTMLElement).textContent = relayUrl.host;
element("example", HTMLElement).textContent = [
	"gst-launch-1.0 -e videotestsrc is-live=true ! video/x-raw,format=I420 ! timeoverlay",
	"! x264enc tune=zerolatency key-int-max=60",
	`! moqsink url=${relayUrl.href} broadcast=demo.hang`,
].join(" ");

if (missing) {
	document.body.dataset.lacks = "";
	document.body.dataset.relay = "unknown";
	render({ phase: "problem", label: "Cannot play", message: missing });
} else {
	start(element("watch", MoqWatch));
}

function start(watch: MoqWatch): void {
	const scope = new Signals.Effect();
	const problem = new Signals.Signal<Words | undefined>(undefined);
	const relay = new Relay(watch.connection, (words) => problem.set(words));
	const live = liveBroadcasts(watch.connection);
	const state = playerState(scope, { watch, live, problem });

	scope.run((effect) => {
		const name = effect.get(selected);
		const first = effect.get(live)[0];
		watch.name = name ?? "";
		if (name === undefined && first !== undefined) preselect(first);
		element("name", HTMLElement).textContent = name ?? "";
		document.title = name ? `${name} – live` : "Live broadcasts";
	});
	scope.run((effect) => showList(effect.get(live), effect.get(selected)));
	scope.run((effect) => {
		const now = effect.get(state);
		if (now) render(now);
	});
	scope.run((effect) => {
		const connected = effect.get(watch.connection.status) === "connected";
		document.body.dataset.relay = effect.get(problem) ? "down" : connected ? "up" : "connecting";
	});
	scope.run((effect) => {
		const phase = effect.get(state)?.phase;
		if (effect.get(watch.connection.status) !== "connected") return;
		if (phase === "stalled" || (phase === "problem" && effect.get(watch.video.out.stalled))) {
			effect.interval(() => void relay.doubt(), DOUBT_MS);
		}
	});
	controls(scope, watch);
	new Figures(scope, watch);
}

function render({ phase, label, message, note }: State): void {
	document.body.dataset.phase = phase;
	element("state", HTMLElement).textContent = label;
	element("message", HTMLElement).hidden = !message;
	element("spinner", HTMLElement).hidden = !message?.busy;
	setText("message-title", message?.title ?? "");
	setText("message-text", message?.text ?? "");
	element("note", HTMLElement).hidden = !note;
	setText("note", note ?? "");
}

/** Leaves equal text alone: a live region is read out when it changes. */
function setText(id: string, text: string): void {
	const target = element(id, HTMLElement);
	if (target.textContent !== text) target.textContent = text;
}
