// Browsers start no workers for pages that are opened from the disk. The search runs in one, so a hidden
// frame takes its place there: the same messages in and out, scripts loaded one after the other.
if (location.protocol === "file:") {
  const load = (frame, url) =>
    new Promise((done, failed) => {
      const script = frame.contentDocument.createElement("script");
      Object.assign(script, { src: String(url), onload: done, onerror: failed });
      frame.contentDocument.body.append(script);
    });
  // The theme looks for a class of this name, to find its files relative to the page.
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        this.onmessage?.(event);
      };
      inside.importScripts = (...urls) =>
        urls.reduce((before, next) => before.then(() => load(this.frame, next)), Promise.resolve());
      this.ready = load(this.frame, url);
    }
    postMessage(data) {
      this.ready.then(() =>
        this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
