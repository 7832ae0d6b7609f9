# quick API for the demo
import joblib
import pandas as pd
from flask import Flask, jsonify, request

app = Flask(__name__)


@app.route("/predict", methods=["POST"])
def predict():
    model = joblib.load("model.joblib")
    data = request.json
    print("got", data)
    try:
        p = model.predict_proba(pd.DataFrame([data]))[0][1]
    except:
        p = 0.0
    return jsonify({"probability": p, "decision": "refer" if p > 0.3 else "approve"})


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000, debug=True)
