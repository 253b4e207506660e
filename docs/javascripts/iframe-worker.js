// Browsers start no worker from the file system. This runs the search worker in a hidden frame
// instead, so that the search also works when the pages are opened from disk.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.appendChild(frame)
      this.inside = frame.contentWindow
      this.queue = []
      window.addEventListener("message", (event) => {
        if (event.source !== this.inside) return
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      const page = this.inside.document
      page.open()
      page.write(`<script>
        postMessage = (data) => parent.postMessage(data, "*")
        importScripts = (...urls) => urls.reduce((done, url) => done.then(() => new Promise((resolve) => {
          const script = document.createElement("script")
          script.src = url
          script.onload = resolve
          document.body.appendChild(script)
        })), Promise.resolve())
      <\/script><body><script src="${url}"><\/script>`)
      page.close()
      frame.addEventListener("load", () => {
        for (const data of this.queue) this.send(data)
        this.queue = null
      })
    }

    postMessage(data) {
      if (this.queue) this.queue.push(data)
      else this.send(data)
    }

    // The frame's own postMessage is the worker's way out, so messages are handed in as events.
    send(data) {
      this.inside.dispatchEvent(new MessageEvent("message", { data }))
    }

    terminate() {}
  }
}
